"""What a robot's camera sees while the robot carries out given actions."""
