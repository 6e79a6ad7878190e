"""What a network said: reads packet captures, follows conversations, and decodes what is asked and answered in them."""
