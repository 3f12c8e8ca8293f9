"""The brokers that `bench/compare` sets against each other."""
