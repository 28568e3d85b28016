fn put_expert(expert: u32, count: u32, base: u32) {}
