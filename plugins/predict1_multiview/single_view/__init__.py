"""What Text2World and Video2World of one camera do alike."""
