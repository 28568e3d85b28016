fn stream_of(row: u32) -> Stream {
    let i = entry(params.seeds, row);
    return Stream(vec2(seeds[i], seeds[i + 1u]), vec2(seeds[i + 2u], seeds[i + 3u]));
}
