@group(0) @binding(9) var<storage, read_write> dropped_count: array<u32>;

fn put_dropped_count(count: u32) {
    dropped_count[params.dropped_count_offset] = count;
}
