//go:build tools

// Package tools pins, in go.mod and go.sum, all that Argo CD is built from; the replaces are its own.
package tools

import _ "github.com/argoproj/argo-cd/v3/cmd"
