"""Kafka: the durable log between exchanges and analysis, and where results go."""
