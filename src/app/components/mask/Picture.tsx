/**
 * @file A canvas at the picture's own resolution, scaled by CSS without smoothing.
 */
import { useEffect, useRef, type ReactNode } from 'react';

export interface PictureProps {
  readonly width: number;
  readonly height: number;
  /** Draws the RGBA pixels; called whenever it changes. */
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
  readonly label: string;
  readonly className?: string;
  readonly style?: React.CSSProperties;
}

export function Picture({ width, height, pixels, label, className = '', style }: PictureProps): ReactNode {
  const ref = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const canvas = ref.current;
    if (canvas === null) return;
    canvas.width = width;
    canvas.height = height;
    canvas.getContext('2d')?.putImageData(new ImageData(pixels, width, height), 0, 0);
  }, [width, height, pixels]);
  return (
    <canvas ref={ref} role="img" aria-label={label} className={`pixelated ${className}`} style={style} />
  );
}
