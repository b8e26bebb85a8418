"""What scenarios and the demo share: sites, kubectl, waiting, the probe, faults, what to keep when something fails."""
