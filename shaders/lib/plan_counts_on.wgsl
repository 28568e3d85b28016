@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> offsets: array<u32>;

fn put_expert(expert: u32, count: u32, base: u32) {
    if (expert < params.experts) {
        counts[params.counts_offset + expert] = count;
    }
    if (expert <= params.experts) {
        offsets[params.offsets_offset + expert] = base;
    }
}
