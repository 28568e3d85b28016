// Tokens, on their way into the order of their keys, one digit of 8 bits after the other.
struct Item {
    place: u32,
    token: u32,
}

fn item_at(i: u32) -> Item {
    if (params.first_digit == 1u) {
        return Item(i, i);
    }
    return Item(i, scratch[params.order_offset + i]);
}

fn item_after(item: Item) -> Item {
    return item_at(min(item.place + 1u, params.items - 1u));
}

fn bucket_of(item: Item) -> u32 {
    return (scratch[params.keys_offset + item.token] >> params.shift) & 0xffu;
}

fn put(item: Item, bucket: u32, position: u32) {
    scratch[params.sorted_order_offset + position] = item.token;
}

fn fill(part: u32, parts: u32) {}
