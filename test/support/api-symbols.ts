/** What the package's entry exports, symbol by symbol, as its declarations have it. */
import { join, relative } from 'node:path';
import ts from 'typescript';
import { ROOT } from './places.js';

export interface ApiSymbol {
  /** `Gateway.toTargets`, `replay`, `DecodedFrame.outer.source`. */
  name: string;
  kind: 'function' | 'class' | 'constructor' | 'method' | 'accessor' | 'field' | 'value' | 'type';
  /** Whether it has a comment that says something, or what it implements has one. */
  documented: boolean;
  /** `src/gateway/gateway.ts:46` */
  place: string;
}

type Members = ts.ClassDeclaration | ts.InterfaceDeclaration | ts.TypeLiteralNode;

/** Well-known symbols mean the same everywhere, and so do these. */
const OF_THE_LANGUAGE = /\[|^constructor$|\.constructor$/;

class Reader {
  readonly found = new Map<string, ApiSymbol>();
  readonly #checker: ts.TypeChecker;

  constructor(checker: ts.TypeChecker) {
    this.#checker = checker;
  }

  add(name: string, kind: ApiSymbol['kind'], node: ts.Node): void {
    const known = this.found.get(name);
    const documented = known?.documented === true || this.#documented(node);
    const file = node.getSourceFile();
    const { line } = file.getLineAndCharacterOfPosition(node.getStart());
    const place = known?.place ?? `${relative(ROOT, file.fileName)}:${line + 1}`;
    this.found.set(name, { name, kind: known?.kind ?? kind, documented, place });
  }

  #documented(node: ts.Node): boolean {
    const at = ts.isVariableDeclaration(node) ? node.parent.parent : node;
    return ts.getJSDocCommentsAndTags(at).some((comment) => {
      return ts.isJSDoc(comment) && (ts.getTextOfJSDocComment(comment.comment) ?? '').trim() !== '';
    });
  }

  exported(symbol: ts.Symbol): void {
    const target =
      symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
    for (const node of target.declarations ?? []) this.#declaration(symbol.name, node);
  }

  #declaration(name: string, node: ts.Declaration): void {
    if (ts.isFunctionDeclaration(node)) this.add(name, 'function', node);
    else if (ts.isVariableDeclaration(node)) this.add(name, 'value', node);
    else if (ts.isClassDeclaration(node)) {
      this.add(name, 'class', node);
      this.#classMembers(name, node);
    } else {
      this.add(name, 'type', node);
      this.#nested(name, node);
    }
  }

  /** Its own, and those of the classes below it that are this package's. */
  #classMembers(name: string, node: ts.ClassDeclaration): void {
    this.#members(name, node);
    const heritage = node.heritageClauses?.find(
      ({ token }) => token === ts.SyntaxKind.ExtendsKeyword,
    );
    if (!heritage) return;
    const base = this.#checker.getTypeAtLocation(heritage.types[0]).symbol;
    for (const below of base?.declarations ?? []) {
      if (
        ts.isClassDeclaration(below) &&
        below.getSourceFile().fileName.startsWith(join(ROOT, 'src'))
      ) {
        this.#classMembers(name, below);
      }
    }
  }

  #members(name: string, node: Members): void {
    for (const member of node.members) {
      if (ts.isClassStaticBlockDeclaration(member) || isHidden(member)) continue;
      const own = ts.isConstructorDeclaration(member) ? 'constructor' : member.name?.getText();
      if (own === undefined) continue;
      const full = `${name}.${own}`;
      this.add(full, kindOf(member), member);
      if (ts.isPropertySignature(member)) this.#nested(full, member);
    }
  }

  /** The members of the object types that a declaration writes out. */
  #nested(name: string, node: ts.Node): void {
    if (ts.isInterfaceDeclaration(node)) {
      this.#members(name, node);
      return;
    }
    const visit = (child: ts.Node): void => {
      if (ts.isTypeLiteralNode(child)) this.#members(name, child);
      else if (!ts.isFunctionTypeNode(child)) ts.forEachChild(child, visit);
    };
    ts.forEachChild(node, visit);
  }
}

function isHidden(member: ts.ClassElement | ts.TypeElement): boolean {
  const modifiers = ts.canHaveModifiers(member) ? (ts.getModifiers(member) ?? []) : [];
  const kept = modifiers.some(({ kind }) => {
    return kind === ts.SyntaxKind.PrivateKeyword || kind === ts.SyntaxKind.ProtectedKeyword;
  });
  return kept || (!!member.name && ts.isPrivateIdentifier(member.name)) || isInternal(member);
}

function isInternal(node: ts.Node): boolean {
  return ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal');
}

function kindOf(member: ts.ClassElement | ts.TypeElement): ApiSymbol['kind'] {
  if (ts.isConstructorDeclaration(member)) return 'constructor';
  if (ts.isMethodDeclaration(member) || ts.isMethodSignature(member)) return 'method';
  return ts.isAccessor(member) ? 'accessor' : 'field';
}

/** All of them, once each; read from `src/index.ts`. */
export function apiSymbols(): ApiSymbol[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, ROOT);
  const program = ts.createProgram([join(ROOT, 'src/index.ts')], { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const entry = program.getSourceFile(join(ROOT, 'src/index.ts'));
  const module = entry && checker.getSymbolAtLocation(entry);
  if (!module) throw new Error('src/index.ts is no module');
  const reader = new Reader(checker);
  for (const symbol of checker.getExportsOfModule(module)) reader.exported(symbol);
  return [...reader.found.values()].filter(({ name }) => !OF_THE_LANGUAGE.test(name));
}
