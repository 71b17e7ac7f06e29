/**
 * @file A screen that fails shows its error and leaves the others working; a running training is not touched.
 */
import { Component, type ReactNode } from 'react';
import { toPlainError } from '../../lib/errors';
import { ErrorNote } from '../components/basics';

interface Props {
  readonly children: ReactNode;
  readonly name: string;
}

export class ErrorBoundary extends Component<Props, { readonly error: unknown }> {
  override state: { readonly error: unknown } = { error: null };

  static getDerivedStateFromError(error: unknown): { readonly error: unknown } {
    return { error };
  }

  override componentDidUpdate(before: Props): void {
    if (before.name !== this.props.name && this.state.error !== null) this.setState({ error: null });
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return (
      <ErrorNote error={toPlainError(this.state.error)}>
        <button type="button" className="button" onClick={() => this.setState({ error: null })}>
          Try again
        </button>
      </ErrorNote>
    );
  }
}
