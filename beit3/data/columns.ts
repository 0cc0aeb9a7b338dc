/** Columns of millions of rows, light in memory. */

type Numbers = Int32Array | Float32Array | Float64Array;

/** Numbers, added one by one. */
export class NumberColumn<A extends Numbers> {
  length = 0;
  private values: A;

  constructor(private readonly kind: new (length: number) => A) {
    this.values = new kind(1024);
  }

  add(value: number): void {
    if (this.length === this.values.length) {
      const larger = new this.kind(this.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length++] = value;
  }

  at(index: number): number {
    return this.values[index];
  }

  /** A view, good until something is added. */
  slice(from: number, to: number): A {
    return this.values.subarray(from, to) as A;
  }
}

/** A list of numbers in each row. */
export class ListColumn<A extends Numbers> {
  private readonly values: NumberColumn<A>;
  private readonly ends = new NumberColumn(Float64Array);

  constructor(kind: new (length: number) => A) {
    this.values = new NumberColumn(kind);
  }

  add(list: ArrayLike<number>): void {
    for (let i = 0; i < list.length; i++) this.values.add(list[i]);
    this.ends.add(this.values.length);
  }

  at(row: number): A {
    return this.values.slice(row === 0 ? 0 : this.ends.at(row - 1), this.ends.at(row));
  }
}

/** A text in each row; equal ones are kept once. */
export class TextColumn {
  private readonly texts: string[] = [];
  private readonly rows = new NumberColumn(Int32Array);
  private numbers = new Map<string, number>();

  add(text: string): void {
    let number = this.numbers.get(text);
    if (number === undefined) {
      number = this.texts.push(text) - 1;
      this.numbers.set(text, number);
    }
    this.rows.add(number);
  }

  at(row: number): string {
    return this.texts[this.rows.at(row)];
  }

  /** Call when all texts are there: frees what finds equal ones. */
  seal(): void {
    this.numbers = new Map();
  }
}
