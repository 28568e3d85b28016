// The slots that four experts take, padding included.
fn taken(first: u32) -> vec4<u32> {
    let total = four_at(params.totals_offset + first);
    let expert = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let slots = vec4(padded(total.x), padded(total.y), padded(total.z), padded(total.w));
    return select(vec4(0u), slots, expert < vec4(params.experts));
}

// From the totals of the experts, where their slots begin: some experts per invocation. All of a workgroup come here together.
fn scan_experts(local: u32) {
    let share = (params.stride / 4u + WIDTH - 1u) / WIDTH * 4u;
    let first = min(local * share, params.stride);
    let end = min(first + share, params.stride);
    var part = vec4(0u);
    for (var expert = first; expert < end; expert += 4u) {
        part += taken(expert);
    }
    var base = before(local, part.x + part.y + part.z + part.w);
    for (var expert = first; expert < end; expert += 4u) {
        let slots = taken(expert);
        let bases = vec4(base) + vec4(0u, slots.x, slots.x + slots.y, slots.x + slots.y + slots.z);
        base = bases.w + slots.w;
        put_four(params.bases_offset + expert, bases);
        let total = four_at(params.totals_offset + expert);
        put_expert(expert, total.x, bases.x);
        put_expert(expert + 1u, total.y, bases.y);
        put_expert(expert + 2u, total.z, bases.z);
        put_expert(expert + 3u, total.w, bases.w);
    }
}
