/**
 * @file The one error class that may reach a user. Imports nothing.
 * A UserError names the file or field concerned and says what to do; anything else that escapes is a defect of ours.
 */

export interface UserErrorOptions {
  /** File path, config key or tensor name the error is about. */
  readonly subject?: string;
  /** One sentence: what the user can do. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** An error with a stable code, a message naming its subject, and an optional hint. Survives `postMessage` via `toPlainError`. */
export class UserError extends Error {
  readonly code: string;
  readonly subject: string | undefined;
  readonly hint: string | undefined;

  constructor(code: string, message: string, options: UserErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'UserError';
    this.code = code;
    this.subject = options.subject;
    this.hint = options.hint;
  }
}

/** Structured-cloneable form of an error, for worker messages and stored runs. */
export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly subject?: string;
  readonly hint?: string;
  readonly stack?: string;
  readonly cause?: PlainError;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof UserError) {
    return {
      code: error.code,
      message: error.message,
      ...(error.subject === undefined ? {} : { subject: error.subject }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.stack === undefined ? {} : { stack: error.stack }),
      ...(error.cause === undefined ? {} : { cause: toPlainError(error.cause) }),
    };
  }
  if (error instanceof Error) {
    return {
      code: error.name === 'AbortError' ? 'aborted' : 'internal',
      message: error.message,
      ...(error.stack === undefined ? {} : { stack: error.stack }),
      ...(error.cause === undefined ? {} : { cause: toPlainError(error.cause) }),
    };
  }
  return { code: 'internal', message: String(error) };
}

export function fromPlainError(plain: PlainError): UserError {
  return new UserError(plain.code, plain.message, {
    ...(plain.subject === undefined ? {} : { subject: plain.subject }),
    ...(plain.hint === undefined ? {} : { hint: plain.hint }),
    ...(plain.cause === undefined ? {} : { cause: fromPlainError(plain.cause) }),
  });
}
