"""Files of dialogues: read, cleaned, measured, and compared with the evaluation rows."""
