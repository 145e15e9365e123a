"""The edges of the machine: programs, durable files, locks, the clock."""
