// Pairs in their own order.
struct Item {
    token: u32,
    choice: u32,
}

fn item_at(i: u32) -> Item {
    return Item(i / params.choices, i % params.choices);
}

fn item_after(item: Item) -> Item {
    let last = item.choice + 1u == params.choices;
    return Item(item.token + u32(last), select(item.choice + 1u, 0u, last));
}
