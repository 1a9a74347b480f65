CREATE TABLE s (id int, name varchar, age int, born date, price decimal(9, 2), list int[], alive boolean);
INSERT INTO s VALUES (1, 'a', 30, '2020-01-01', 1.50, [1, 2], true), (2, 'b', 30, '2020-01-02', 2.25, [3], false),
  (3, 'c', 20, NULL, NULL, NULL, NULL);
CREATE SEQUENCE counter;
