fn put_arguments(expert: u32, count: u32) {}
