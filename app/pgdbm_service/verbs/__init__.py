"""What else the engine can do with a module: look ahead, compare, decide, take back, answer whether it is ready."""
