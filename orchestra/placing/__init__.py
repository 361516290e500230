"""Files into a run's directory: copy, link, unpack, select, rename. For the engine and for resolvers alike."""
