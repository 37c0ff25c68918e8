"""What the API's answers are made of: their fields, their frames, and the way from the one to the other."""
