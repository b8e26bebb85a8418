"""The GitOps scenarios."""
