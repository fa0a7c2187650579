"""What training reads: clips with their texts, in an order that seed and position alone decide."""
