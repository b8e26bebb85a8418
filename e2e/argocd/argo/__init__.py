"""A real Argo CD on this machine beside three clusters, for the scenarios in this folder."""
