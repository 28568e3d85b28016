fn stream_of(row: u32) -> Stream {
    let i = params.seeds_offset + row * params.seeds_stride;
    return Stream(vec2(seeds[i], seeds[i + 1u]), vec2(seeds[i + 2u], seeds[i + 3u]));
}
