"""What a candidate is worth: the sets, the numbers, and the pages that show them."""
