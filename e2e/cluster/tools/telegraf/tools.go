//go:build tools

// Package tools pins, in go.mod and go.sum, what Telegraf with our few plugins is built from. Not tidied: that would fetch all plugins'.
// To renew: go get github.com/influxdata/telegraf@vX, then go build -mod=mod with the tags of pins.py.
package tools

import _ "github.com/influxdata/telegraf/cmd/telegraf"
