"""OCI image archives from files of this machine, reproducible and without a registry."""
