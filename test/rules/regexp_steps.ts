/**
 * Counts the steps a backtracking engine takes for a regular expression on a text, and makes texts on which one that
 * backtracks takes too many. Owns no rule. Steps and not seconds: the count is the same on every machine.
 */
import { type AST, parseRegExpLiteral, visitRegExpAST } from "@eslint-community/regexpp";

type Continue = (at: number) => boolean;

/** A regular expression as an engine without shortcuts runs it: from each start, every way until one matches. */
export class SteppedRegExp {
  readonly literal: AST.RegExpLiteral;
  private steps = 0;
  private limit = 0;
  private text = "";
  private readonly leaves = new Map<string, RegExp>();

  constructor(literal: string) {
    this.literal = parseRegExpLiteral(literal);
  }

  /** Steps for all matches (`g`) or the first; `limit` or a little more if there are more than that. */
  stepsOn(text: string, limit: number): number {
    [this.text, this.limit, this.steps] = [text, limit, 0];
    const isGlobal = this.literal.flags.global;
    for (let start = 0; start <= text.length && this.steps < limit; start++) {
      let end = -1;
      const isMatch = this.alternatives(this.literal.pattern.alternatives, start, (at) => {
        end = at;
        return true;
      });
      if (isMatch && !isGlobal) break;
      if (isMatch) start = Math.max(start, end - 1);
      // An engine sees that only one start can match.
      if (this.isAnchored()) break;
    }
    return this.steps;
  }

  private isAnchored(): boolean {
    return !this.literal.flags.multiline && this.literal.pattern.alternatives.every(({ elements: [first] }) => {
      return first?.type === "Assertion" && first.kind === "start";
    });
  }

  private alternatives(alternatives: readonly AST.Alternative[], at: number, next: Continue): boolean {
    return alternatives.some(({ elements }) => this.sequence(elements, 0, at, next));
  }

  private sequence(elements: readonly AST.Element[], index: number, at: number, next: Continue): boolean {
    const element = elements[index];
    if (element === undefined) return next(at);
    return this.element(element, at, (end) => this.sequence(elements, index + 1, end, next));
  }

  private element(element: AST.Element, at: number, next: Continue): boolean {
    this.steps += 1;
    if (this.steps > this.limit) return true;
    switch (element.type) {
      case "Group":
      case "CapturingGroup":
        return this.alternatives(element.alternatives, at, next);
      case "Quantifier":
        return this.repeat(element, 0, at, next);
      case "Assertion":
        return this.holds(element, at) && next(at);
      case "Character":
      case "CharacterSet":
      case "CharacterClass":
        return at < this.text.length && this.leaf(element.raw).test(this.text[at]!) && next(at + 1);
      default:
        throw new Error(`Cannot count the steps of ${element.raw}: ${element.type} is not known here`);
    }
  }

  private repeat(quantifier: AST.Quantifier, count: number, at: number, next: Continue): boolean {
    const { min, max, greedy, element } = quantifier;
    const more = () =>
      count < max && this.element(element, at, (end) => {
        return (end > at || count < min) && this.repeat(quantifier, count + 1, end, next);
      });
    if (count < min) return more();
    return greedy ? more() || next(at) : next(at) || more();
  }

  private holds(assertion: AST.Assertion, at: number): boolean {
    const { text } = this;
    switch (assertion.kind) {
      case "start":
        return at === 0 || (this.literal.flags.multiline && text[at - 1] === "\n");
      case "end":
        return at === text.length || (this.literal.flags.multiline && text[at] === "\n");
      case "word":
        return (/\w/.test(text[at - 1] ?? "") !== /\w/.test(text[at] ?? "")) !== assertion.negate;
      case "lookahead":
        return this.alternatives(assertion.alternatives, at, () => true) !== assertion.negate;
      case "lookbehind":
        // One character is all that is looked back at here.
        return (at > 0 && this.alternatives(assertion.alternatives, at - 1, (end) => end === at)) !== assertion.negate;
    }
  }

  /** A single character is judged by the engine itself. */
  private leaf(raw: string): RegExp {
    let leaf = this.leaves.get(raw);
    if (leaf === undefined) {
      const { ignoreCase, dotAll, unicode } = this.literal.flags;
      leaf = new RegExp(`^${raw}$`, `${ignoreCase ? "i" : ""}${dotAll ? "s" : ""}${unicode ? "u" : ""}`);
      this.leaves.set(raw, leaf);
    }
    return leaf;
  }
}

/** What is tried for a class of characters, commonest first. */
const TRIED = 'a1 :="<-.,/@;[x\t\0\n!';

/** A shortest text that the element matches. */
function sampleOf(node: AST.Node, tried = TRIED): string {
  switch (node.type) {
    case "Pattern":
    case "Group":
    case "CapturingGroup":
      return sampleOf(node.alternatives[0]!, tried);
    case "Alternative":
      return node.elements.map((element) => sampleOf(element, tried)).join("");
    case "Quantifier":
      return sampleOf(node.element, tried).repeat(Math.max(1, node.min));
    case "Character":
      return String.fromCodePoint(node.value);
    case "CharacterSet":
    case "CharacterClass":
      return [...tried].find((character) => new RegExp(`^${node.raw}$`, "s").test(character)) ?? "\x01";
    default:
      return "";
  }
}

/** Parts of a pattern, each with what stands before it in the text. */
function partsOf(node: AST.Node, before: string, found: { part: AST.Node; before: string }[]): void {
  found.push({ part: node, before });
  if ("alternatives" in node) { for (const alternative of node.alternatives) partsOf(alternative, before, found); }
  else if (node.type === "Quantifier") partsOf(node.element, before, found);
  else if (node.type === "Alternative") {
    let sofar = before;
    for (const element of node.elements) {
      partsOf(element, sofar, found);
      found.push({ part: element, before: "" });
      sofar += sampleOf(element);
    }
  }
}

/**
 * Texts of a given size that repeat a part of the pattern behind what comes before it, and end in something that no match
 * ends in.
 */
export function hostileTexts(literal: AST.RegExpLiteral, size: number): string[] {
  const found: { part: AST.Node; before: string }[] = [];
  partsOf(literal.pattern, "", found);
  const pumps = new Set<string>();
  for (const { part, before } of found) {
    for (const tried of [TRIED, "x.", " \t", "\0"]) {
      const sample = sampleOf(part, tried);
      if (sample === "") continue;
      // Also the beginnings of what matches: most of a pattern, again and again.
      for (const pump of [sample, before + sample]) pumps.add(`${before}\u{e000}${pump}`).add(`\u{e000}${pump}`);
    }
  }
  return [...pumps].flatMap((pair) => {
    const [before = "", pump = ""] = pair.split("\u{e000}");
    const body = before + pump.repeat(Math.ceil(size / pump.length)).slice(0, size);
    return ["\t", "!", "\0\n"].map((end) => body + end);
  });
}

/** Without repetition beyond a fixed number the steps are bounded for each character. */
function hasLongRepetition(literal: AST.RegExpLiteral): boolean {
  let isFound = false;
  visitRegExpAST(literal, {
    onQuantifierEnter({ max }) {
      isFound ||= max > FEW;
    },
  });
  return isFound;
}

/** A hostile text on which twice the length takes far more than twice the steps; null if there is none. */
export function growthOf(literal: string): { text: string; ratio: number } | null {
  const stepped = new SteppedRegExp(literal);
  if (!hasLongRepetition(stepped.literal)) return null;
  const small = hostileTexts(stepped.literal, SIZE);
  const large = hostileTexts(stepped.literal, 2 * SIZE);
  for (const [index, text] of small.entries()) {
    const few = stepped.stepsOn(text, LIMIT);
    // Bounded counters take the same for each character, however long the text is.
    if (few < 8 * SIZE) continue;
    const many = stepped.stepsOn(large[index]!, 4 * LIMIT);
    const ratio = many / few;
    if (ratio > 2.6) return { text, ratio };
  }
  return null;
}

const FEW = 100;
const SIZE = 256;
const LIMIT = 2000 * SIZE;
