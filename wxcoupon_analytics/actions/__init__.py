"""What changes the world: sends and deactivations, planned, journaled, executed."""
