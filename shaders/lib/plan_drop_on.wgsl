@group(0) @binding(8) var<storage, read_write> dropped: array<u32>;

fn drop(pair: u32, position: u32) {
    dropped[params.dropped_offset + position] = pair;
}

// What follows the last dropped pair: one of so many parts of the list.
fn fill_dropped(part: u32, parts: u32) {
    let size = (params.items + parts - 1u) / parts;
    let end = min((part + 1u) * size, params.items);
    for (var i = max(part * size, total_of(params.experts)); i < end; i++) {
        dropped[params.dropped_offset + i] = NONE;
    }
}
