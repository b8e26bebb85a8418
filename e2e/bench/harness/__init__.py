"""What every benchmark needs: processes, waiting, Kafka and mosquitto, CPU and memory, results."""
