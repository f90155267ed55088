import 'i18next';
import type admin from './locales/en/admin.json';
import type fields from './locales/en/fields.json';
import type shop from './locales/en/shop.json';

declare module 'i18next' {
  interface CustomTypeOptions {
    defaultNS: 'shop';
    resources: { shop: typeof shop; admin: typeof admin; fields: typeof fields };
  }
}
