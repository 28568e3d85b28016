fn mark(expert: u32, slot: u32, token: u32) {}
