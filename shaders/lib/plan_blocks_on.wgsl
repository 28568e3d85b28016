@group(0) @binding(7) var<storage, read_write> blocks: array<u32>;

// The experts of these blocks.
fn put_blocks(first: u32, end: u32) {
    let last = min(end, params.blocks);
    let used = base_of(params.experts) / params.block;
    var expert = expert_at(first * params.block);
    var next = base_of(expert + 1u);
    for (var i = first; i < last; i++) {
        while (i < used && i * params.block >= next) {
            expert++;
            next = base_of(expert + 1u);
        }
        blocks[params.blocks_offset + i] = select(NONE, expert, i < used);
    }
}
