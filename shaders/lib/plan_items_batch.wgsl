// All first choices before any second, tokens with the greatest top gate first within (V-MoE: Riquelme et al., arXiv
// 2106.05974).
struct Item {
    place: u32,     // of the token in that order
    token: u32,
    choice: u32,
}

fn item_of(place: u32, choice: u32) -> Item {
    return Item(place, scratch[params.order_offset + place], choice);
}

fn item_at(i: u32) -> Item {
    return item_of(i % params.tokens, i / params.tokens);
}

fn item_after(item: Item) -> Item {
    let last = item.place + 1u == params.tokens;
    return item_of(select(item.place + 1u, 0u, last), item.choice + u32(last));
}
