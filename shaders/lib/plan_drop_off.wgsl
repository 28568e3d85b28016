fn drop(pair: u32, position: u32) {}

fn fill_dropped(part: u32, parts: u32) {}
