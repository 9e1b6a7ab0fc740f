return read(KEYS[1])
