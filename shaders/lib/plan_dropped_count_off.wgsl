fn put_dropped_count(count: u32) {}
