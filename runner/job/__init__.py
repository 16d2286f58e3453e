"""A job: what to delete as the user said it, read from files and checked, with every fault named."""
