"""What `bench/attack` does to a hub: the scenarios, and the memory that each may cost."""
