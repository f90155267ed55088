import type { components, paths } from './schema';

type Schemas = components['schemas'];

export type Order = Schemas['Order'];
export type OrderDetails = Schemas['OrderDetails'];
export type OrderStatus = Schemas['OrderStatus'];
export type Payment = Schemas['Payment'];
export type PaymentMethod = Schemas['PaymentMethod'];
export type Product = Schemas['Product'];
export type User = Schemas['User'];

export type ProductFilter = NonNullable<paths['/api/products']['get']['parameters']['query']>;
