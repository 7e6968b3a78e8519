"""Pure values that all stages share. No file, socket, clock or client library in here."""
