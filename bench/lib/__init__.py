"""What the scripts of `bench/` share: starting a hub, driving the load generator, writing results."""
