// All first choices before any second, tokens in order within (Switch: Fedus, Zoph & Shazeer, arXiv 2101.03961).
struct Item {
    token: u32,
    choice: u32,
}

fn item_at(i: u32) -> Item {
    return Item(i % params.tokens, i / params.tokens);
}

fn item_after(item: Item) -> Item {
    let last = item.token + 1u == params.tokens;
    return Item(select(item.token + 1u, 0u, last), item.choice + u32(last));
}
