fn put_blocks(first: u32, end: u32) {}
