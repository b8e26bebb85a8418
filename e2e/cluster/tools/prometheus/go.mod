module tributary.dev/e2e/tools/prometheus

go 1.26.0

require github.com/prometheus/prometheus v0.315.0

// As in Prometheus' own module.
replace cloud.google.com/go => cloud.google.com/go v0.123.0
