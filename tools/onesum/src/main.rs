mod tensor;
fn main(){}
