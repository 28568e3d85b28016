fn bucket_of(item: Item) -> u32 {
    let expert = experts[params.experts_offset + item.token * params.experts_stride + item.choice];
    return select(NONE, expert, expert < params.experts);
}
